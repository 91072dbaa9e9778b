"""Times as people read them, by this machine's clock; seconds are since 1970."""

from datetime import date, datetime, timedelta

# which the page translates, whatever the machine speaks
MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"


def moment(seconds: float) -> str:
    """Day and minute: 2026-11-28 14:02."""
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}"


def short(seconds: float, today: date | None = None) -> str:
    """As much as is needed: 14:02 of today, Yesterday, 28 Nov of this year, 2025-11-28."""
    then, today = datetime.fromtimestamp(seconds), today or date.today()
    if then.date() == today:
        return f"{then:%H:%M}"
    if then.date() == today - timedelta(days=1):
        return "Yesterday"
    month = MONTHS[3 * then.month - 3 : 3 * then.month]
    return f"{then.day} {month}" if then.year == today.year else f"{then:%Y-%m-%d}"


def clock(seconds: float) -> str:
    """The minute, with its day where that is not today."""
    today = datetime.fromtimestamp(seconds).date() == date.today()
    return short(seconds) if today else moment(seconds)
