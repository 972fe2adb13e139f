"""Who may do what: the roles of people and of programs."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What an account, or the token of a program, is for."""

    #: reads studies and says whether the result is right
    RADIOLOGIST = "radiologist"
    #: sees everything, looks after accounts and tokens; gives no feedback
    ADMIN = "admin"
    #: a program with a token: reads what the API gives
    SERVICE = "service"


#: roles that people have; a program has a token instead of an account
PEOPLE = (Role.RADIOLOGIST, Role.ADMIN)
