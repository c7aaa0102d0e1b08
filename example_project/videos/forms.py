"""What users fill in."""

import uuid
from pathlib import Path
from typing import Any

from django import forms
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile

from .models import Video


class VideoForm(forms.Form):
    """A file with a title."""

    title = forms.CharField(max_length=100)
    file = forms.FileField(
        widget=forms.ClearableFileInput(attrs={"accept": "video/*"}),
        help_text="Only you will see it on YouTube.",
    )

    def clean_file(self) -> UploadedFile:
        """Take nothing but videos."""
        file: UploadedFile = self.cleaned_data["file"]
        if not (file.content_type or "").startswith("video/"):
            raise forms.ValidationError("Choose a video.")
        return file

    def save(self, user: Any) -> Video:
        """Keep the file until it has arrived."""
        file = self.cleaned_data["file"]
        name = default_storage.save(f"videos/{uuid.uuid4()}{Path(file.name).suffix}", file)
        return Video.of(user, Path(default_storage.path(name)), self.cleaned_data["title"])
