"""Names for annotations alone, which are not evaluated: importing `typing` would cost a tenth of a program's start."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator as Iterator
    from typing import Any as Any
    from typing import BinaryIO as BinaryIO
    from typing import NoReturn as NoReturn
    from typing import TypeGuard as TypeGuard
else:
    Any = BinaryIO = Iterator = NoReturn = TypeGuard = None
