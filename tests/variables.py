"""Variables that Faust would go by: nothing of this project may."""

from __future__ import annotations

from faust.types.settings import Settings

#: Those of Faust's settings, and the others that it looks at when it makes an application.
OF_FAUST = [
    *sorted({setting.env_name for setting in Settings.SETTINGS.values() if setting.env_name}),
    "DJANGO_SETTINGS_MODULE",
    "NODE_HOSTNAME",
]

#: Those that its command line and its modules read as they are imported.
OF_FAUSTS_COMMAND = [
    prefix + name
    for prefix in ("FAUST_", "F_")
    for name in ("BLOCKING_TIMEOUT", "CONSOLE_PORT", "DATADIR", "DEBUG", "LOOP", "STRICT", "WEB_PORT", "WORKDIR")
]
