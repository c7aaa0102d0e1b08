"""``manage.py report SHEET``: write into a spreadsheet how many accounts are linked."""

from argparse import ArgumentParser
from typing import Any

from django.core.management import BaseCommand, CommandError
from django.utils import timezone

from django_google_link.exceptions import TokenEndpointError
from django_google_link.models import GoogleAccount
from django_google_link.services import ServiceAccount, build_service

SHEETS = "https://www.googleapis.com/auth/spreadsheets"


class Command(BaseCommand):
    help = "Add a row to a spreadsheet that is shared with the site's own service account."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("sheet", help="the id of the spreadsheet, which is part of its URL")

    def handle(self, *, sheet: str, **options: Any) -> None:
        row = [timezone.localdate().isoformat(), GoogleAccount.objects.count()]
        try:
            sheets = build_service(ServiceAccount("reports"), "sheets", "v4", scopes=[SHEETS])
            values = sheets.spreadsheets().values()
            values.append(
                spreadsheetId=sheet,
                range="A1",
                valueInputOption="RAW",
                body={"values": [row]},
            ).execute()
        except TokenEndpointError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{row[0]}: {row[1]} linked accounts")
