"""What a user of the portal may do. A route names one of these; nothing is open by omission."""

from enum import Enum

from santepacs.db.accounts import AccountRow


class Permission(Enum):
    """Who may use a route."""

    ANYBODY = "anybody"
    USER = "every user who is logged in"
    UPLOAD = "users who may upload"
    SHARE = "users who may give patients' links away"
    EDIT_WORKLIST = "users who may change the worklist"
    ADMINISTRATOR = "administrators"


def may(account: AccountRow | None, permission: Permission) -> bool:
    """Whether `account` (None: nobody is logged in) has `permission`; administrators have all."""
    if permission is Permission.ANYBODY:
        return True
    if account is None or not account.active:
        return False
    if account.administrator or permission is Permission.USER:
        return True
    return {
        Permission.UPLOAD: account.may_upload,
        Permission.SHARE: account.may_share,
        Permission.EDIT_WORKLIST: False,
        Permission.ADMINISTRATOR: False,
    }[permission]
