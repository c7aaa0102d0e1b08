"""Names that tests and the views under test share."""

CALENDAR = "https://www.googleapis.com/auth/calendar.readonly"
DRIVE = "https://www.googleapis.com/auth/drive.file"
CALLBACK = "http://testserver/google/callback/"
