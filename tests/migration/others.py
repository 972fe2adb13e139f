"""Rows of the tables that a study's way through the pipeline does not fill; columns of any release."""

from __future__ import annotations

from typing import Any

Rows = list[dict[str, Any]]
_AT, _LATER = "2026-01-02T03:04:05.678901", "2026-01-03T03:04:05"
_STEP = {
    "study_id": 1,
    "number": 1,
    "sop_instance_uid": "1.2.3.100",
    "state": "COMPLETED",
    "transaction_uid": "1.2.9",
    "performer": "READER",
    "claimed_at": _AT,
    "ended_at": _LATER,
    "ended_revision": 1,
    "abandoned": False,
    "performed": {"00404052": {"vr": "DT", "Value": ["20260102"]}},
    "created_at": _AT,
    "changed_at": _LATER,
    "reported_state": "flagged",
    "reported_rank": 20,
    "reported_ready": True,
}

#: table → rows
OTHERS: dict[str, Rows] = {
    "problems": [
        {"id": 1, "at": _AT, "kind": "uid_conflict", "study_instance_uid": None, "detail": "kept beside"}
    ],
    "feedback": [
        {
            "id": 1,
            "revision_id": 1,
            "reader": "Ruth",
            "agrees": True,
            "subtypes": ["intraparenchymal"],
            "note": "Grüße · 出血",
            "at": _AT,
            "weights_sha256": "cd" * 32,
            "withdrawn": False,
        },
        {
            "id": 2,
            "revision_id": 2,
            "reader": "Noor",
            "agrees": False,
            "subtypes": None,
            "note": "",
            "at": _LATER,
            "weights_sha256": "cd" * 32,
            "withdrawn": False,
        },
    ],
    "workers": [
        {
            "id": "w1",
            "host": "one",
            "pid": 7,
            "started_at": _AT,
            "seen_at": _AT,
            "package": "threshold-1",
            "package_problem": None,
        }
    ],
    "receivers": [{"id": "r1", "host": "one", "pid": 8, "seen_at": _AT}],
    "promotions": [
        {
            "number": 1,
            "at": _AT,
            "action": "promote",
            "package": "a-1-abababababab",
            "weights_sha256": "ab" * 32,
            "manifest_sha256": "ef" * 32,
            "synthetic": True,
            "forced": "trial",
            "checks": [{"name": "auc"}],
        }
    ],
    "accounts": [
        {
            "id": 1,
            "name": "Ruth",
            "name_key": "ruth",
            "role": "admin",
            "password_hash": "$argon2id$x",
            "issuer": None,
            "subject": None,
            "disabled": False,
            "created_at": _AT,
            "last_login_at": _LATER,
        },
        {
            "id": 2,
            "name": "Noor",
            "name_key": "noor",
            "role": "radiologist",
            "password_hash": None,
            "issuer": "https://id.example",
            "subject": "17",
            "disabled": True,
            "created_at": _AT,
            "last_login_at": None,
        },
    ],
    "admin_links": [{"secret_sha256": "0a" * 32, "expires_at": _LATER}],
    "web_sessions": [{"cookie_sha256": "0b" * 32, "account_id": 1, "begun_at": _AT, "seen_at": _LATER}],
    "service_tokens": [
        {
            "id": 1,
            "name": "grafana",
            "token_sha256": "0c" * 32,
            "created_at": _AT,
            "expires_at": _LATER,
            "revoked_at": None,
            "last_used_at": _AT,
        }
    ],
    "pending_logins": [{"cookie_sha256": "0d" * 32, "expires_at": _LATER, "data": {"state": "s"}}],
    "audit": [
        {
            "id": 1,
            "at": _AT,
            "event": "study_viewed",
            "actor": "Ruth",
            "role": "admin",
            "address": "10.0.0.7",
            "study_instance_uid": "1.2.3",
            "rows": None,
            "asked": None,
            "about": None,
        }
    ],
    "commitments": [
        {
            "id": 1,
            "ae_title": "SCANNER",
            "address": "10.0.0.7",
            "transaction_uid": "1.2.10",
            "objects": [["1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", 0]],
            "count": 1,
            "asked_at": _AT,
            "judged_at": _LATER,
            "attempts": 1,
            "next_attempt_at": _LATER,
            "last_error": "away",
        }
    ],
    "ups_steps": [{"id": 1} | _STEP],
    "ups_subscriptions": [{"ae_title": "WATCHER", "step_id": 1, "subscribed": True, "deletion_lock": False}],
    "ups_global_subscriptions": [
        {"ae_title": "WATCHER", "deletion_lock": True, "last_step_id": None, "greeted_step_id": 1}
    ],
    "ups_events": [
        {
            "id": 1,
            "ae_title": "WATCHER",
            "sop_instance_uid": "1.2.3.100",
            "event_type": 1,
            "information": {"00741000": {"vr": "CS", "Value": ["COMPLETED"]}},
            "at": _AT,
            "attempts": 2,
            "next_attempt_at": _LATER,
            "last_error": "away",
            "claimed_by": None,
            "claimed_until": None,
        }
    ],
}
