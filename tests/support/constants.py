"""Names shared by the tests and the views under test."""

CALENDAR = "https://www.googleapis.com/auth/calendar.readonly"
DRIVE = "https://www.googleapis.com/auth/drive.file"
TASKS = "https://www.googleapis.com/auth/tasks"
OPENID = ("openid", "email", "profile")

CALLBACK = "http://testserver/google/callback/"
EVENTS = [{"summary": "Tea with Ben"}]
OTHER_KEY = "b3RoZXIga2V5LCB0aGlydHktdHdvIGJ5dGVzIGxvbmc="
