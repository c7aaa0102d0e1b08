"""The table of scopes that imply other scopes, reviewed by hand.

A scope implies another if every method of Google's APIs that accepts the other accepts it too,
**and** it gives access to all of the data that the other gives access to.
``tools/draft_implied_scopes.py`` drafts the first part from the discovery documents; no document
states the second. Doubtful cases are left out: the user is then asked once more, and nothing
breaks. ``IMPLIED_SCOPES`` overrides the table.

Left out, although there are methods that accept both:

- ``drive.file`` (files used with the app), ``drive.appdata`` (the app's own folder, to which
  ``drive`` gives no access either), ``calendar.app.created`` (calendars that the app created),
  ``calendar.events.owned`` and ``calendar.events.public.readonly`` (some calendars),
  ``calendar.events.freebusy`` (times without content), ``drive.metadata`` (no content),
  ``gmail.metadata`` (no bodies), ``gmail.addons.*`` (the open message),
  ``meetings.space.created``, ``chat.bot`` and ``chat.import`` (their own spaces), and
  ``classroom.*.me`` and ``user.*`` (the user's own data): they give access to a part, and
  therefore imply no scope with wider access.
- ``calendar.readonly`` and ``calendar.settings``, ``drive.activity.readonly`` and
  ``drive.activity``, ``fitness.*``, ``chat.app.*`` and similar ones: the documents contain only
  methods that read, or that accept any scope of a list, which proves nothing.
- ``contacts`` and ``user.*.read``: a user's contacts are not the user's own profile.
- ``drive`` and ``drive.file``, ``youtube`` and ``youtube.readonly``: some API accepts only the
  narrow one.
- ``drive`` and ``drive.scripts``: the latter changes what scripts do.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..scopes import PREFIX


def _spell_out(table: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {
        _complete(scope): tuple(_complete(name) for name in narrow.split())
        for scope, narrow in table.items()
    }


def _complete(name: str) -> str:
    return name if "://" in name else PREFIX + name


#: What each scope implies, transitively.
IMPLIED_SCOPES: Mapping[str, tuple[str, ...]] = _spell_out(
    {
        # Calendar. "calendar" covers everything; "readonly" and "events" cover all calendars, but
        # only for reading or only their events.
        "calendar": """calendar.readonly calendar.events calendar.events.readonly
            calendar.events.owned calendar.events.owned.readonly calendar.events.public.readonly
            calendar.events.freebusy calendar.freebusy calendar.app.created calendar.acls
            calendar.acls.readonly calendar.calendarlist calendar.calendarlist.readonly
            calendar.calendars calendar.calendars.readonly calendar.settings.readonly""",
        "calendar.readonly": """calendar.events.readonly calendar.events.owned.readonly
            calendar.events.public.readonly calendar.events.freebusy calendar.freebusy
            calendar.calendarlist.readonly calendar.calendars.readonly
            calendar.settings.readonly""",
        "calendar.events": "calendar.events.readonly",
        "calendar.acls": "calendar.acls.readonly",
        "calendar.calendarlist": "calendar.calendarlist.readonly",
        "calendar.calendars": "calendar.calendars.readonly",
        # Gmail. "modify" covers everything except permanent deletion, "compose" drafts and
        # sending, "readonly" bodies and metadata.
        "https://mail.google.com/": """gmail.modify gmail.readonly gmail.metadata gmail.compose
            gmail.send gmail.insert gmail.labels""",
        "gmail.modify": """gmail.readonly gmail.metadata gmail.compose gmail.send gmail.insert
            gmail.labels""",
        "gmail.readonly": "gmail.metadata",
        "gmail.compose": "gmail.send",
        # Drive covers all files, including those of Docs, Sheets, Slides and Forms.
        "drive": """drive.readonly drive.metadata drive.metadata.readonly drive.photos.readonly
            drive.meet.readonly documents documents.readonly spreadsheets spreadsheets.readonly
            presentations presentations.readonly forms.body forms.body.readonly
            forms.responses.readonly""",
        "drive.readonly": """drive.metadata.readonly drive.meet.readonly documents.readonly
            spreadsheets.readonly presentations.readonly forms.body.readonly""",
        "drive.metadata": "drive.metadata.readonly",
        "drive.activity": "drive.activity.readonly",
        "drive.labels": "drive.labels.readonly",
        "documents": "documents.readonly",
        "spreadsheets": "spreadsheets.readonly",
        "presentations": "presentations.readonly",
        "forms.body": "forms.body.readonly",
        # Write access includes read access.
        "contacts": "contacts.readonly",
        "tasks": "tasks.readonly",
        "keep": "keep.readonly",
        "blogger": "blogger.readonly",
        "webmasters": "webmasters.readonly",
        "script.projects": "script.projects.readonly",
        "script.deployments": "script.deployments.readonly",
        # Uploading is part of managing an account.
        "youtube": "youtube.upload",
        "youtube.force-ssl": "youtube.upload",
        "classroom.announcements": "classroom.announcements.readonly",
        "classroom.courses": "classroom.courses.readonly",
        "classroom.courseworkmaterials": "classroom.courseworkmaterials.readonly",
        "classroom.rosters": "classroom.rosters.readonly",
        "classroom.topics": "classroom.topics.readonly",
        "chat.messages": """chat.messages.readonly chat.messages.create chat.messages.reactions
            chat.messages.reactions.create chat.messages.reactions.readonly""",
        "chat.messages.readonly": "chat.messages.reactions.readonly",
        "chat.messages.reactions": """chat.messages.reactions.create
            chat.messages.reactions.readonly""",
        "chat.memberships": "chat.memberships.readonly",
        "chat.spaces": "chat.spaces.readonly chat.spaces.create",
        "chat.users.readstate": "chat.users.readstate.readonly",
        # Of a whole Google Workspace domain.
        "admin.directory.customer": "admin.directory.customer.readonly",
        "admin.directory.domain": "admin.directory.domain.readonly",
        "admin.directory.group": """admin.directory.group.readonly admin.directory.group.member
            admin.directory.group.member.readonly""",
        "admin.directory.group.readonly": "admin.directory.group.member.readonly",
        "admin.directory.group.member": "admin.directory.group.member.readonly",
        "admin.directory.orgunit": "admin.directory.orgunit.readonly",
        "admin.directory.resource.calendar": "admin.directory.resource.calendar.readonly",
        "admin.directory.rolemanagement": "admin.directory.rolemanagement.readonly",
        "admin.directory.user": """admin.directory.user.readonly admin.directory.user.alias
            admin.directory.user.alias.readonly""",
        "admin.directory.user.readonly": "admin.directory.user.alias.readonly",
        "admin.directory.user.alias": "admin.directory.user.alias.readonly",
        "admin.directory.userschema": "admin.directory.userschema.readonly",
        # Google Cloud. "cloud-platform" covers everything.
        "cloud-platform": """bigquery bigquery.insertdata datastore devstorage.full_control
            devstorage.read_write devstorage.read_only logging.admin logging.read logging.write
            pubsub spanner.admin spanner.data""",
        "bigquery": "bigquery.insertdata",
        "devstorage.full_control": "devstorage.read_write devstorage.read_only",
    }
)
