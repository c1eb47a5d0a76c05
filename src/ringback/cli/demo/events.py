"""What happens in a shop? Realistic events of three types, from 150 bytes to some 20 kB, with text from many scripts."""

from __future__ import annotations

from typing import Any

ORDER = "order.created"
PAYMENT = "payment.captured"
TICKET = "ticket.updated"
DESCRIPTIONS = {
    ORDER: "A customer placed an order",
    PAYMENT: "Money for an order arrived",
    TICKET: "A support ticket changed",
}

_CUSTOMERS = ("Zoë Müller", "李小龙", "Олена Шевченко", "José Ibáñez", "さくら 田中", "عمر خالد", "Ada Lovelace", "Nguyễn Văn An")
_ARTICLES = ("Café Crème ☕", "Smørrebrød", "Łódź poster", "naïve T-shirt", "Qpack 3000", "Ünïcode mug 🦄")
_COMPLAINT = "The parcel arrived, but the box was wet — could you send another one? ¡Gracias! 谢谢。 "

# Every so many events an order is a large one (120 lines, about 12 kB), so that sizes differ by two orders of magnitude.
_LARGE_EVERY = 20
_LARGE_LINES = 120


def make_event(sequence: int, run: str) -> tuple[str, dict[str, Any]]:
    """Type and payload of the event with this number; `run` and the number find it again on arrival."""
    mark = {"run": run, "sequence": sequence}
    kind = sequence % 4
    if kind in (0, 1):
        return PAYMENT, {"demo": mark, "paymentId": f"pay_{sequence:08}", "amount": 1999 + sequence, "currency": "EUR", "captured": True}
    if kind == 2:
        lines = _LARGE_LINES if sequence % _LARGE_EVERY == 2 else 1 + sequence % 5
        return ORDER, {
            "demo": mark,
            "orderId": f"ord_{sequence:08}",
            "customer": _pick(_CUSTOMERS, sequence),
            "lines": _lines(sequence, lines),
        }
    return TICKET, {
        "demo": mark,
        "ticketId": f"tkt_{sequence:08}",
        "from": _pick(_CUSTOMERS, sequence + 3),
        "state": "open" if sequence % 8 == 3 else "solved",
        "text": _COMPLAINT * (1 + sequence % 13),
    }


def _lines(sequence: int, count: int) -> list[dict[str, Any]]:
    return [
        {"position": n, "article": _pick(_ARTICLES, sequence + n), "quantity": 1 + n % 3, "price": "12.50"} for n in range(1, count + 1)
    ]


def _pick(choices: tuple[str, ...], number: int) -> str:
    return choices[number % len(choices)]
