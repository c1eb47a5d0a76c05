"""Receives Twilio's calls in a Flask application, and answers them with TwiML.

pip install ringback flask
TWILIO_TOKEN=... PUBLIC_URL=https://shop.example/webhooks/twilio python examples/receiver_flask.py
"""

import os

from flask import Flask

from ringback.receiver import Event, Receiver, SqliteInbox
from ringback.receiver.flask import blueprint

# Twilio signs the URL that it calls. Behind a proxy this program sees another one, so that it must be told.
twilio = Receiver(
    "twilio",
    os.environ["TWILIO_TOKEN"],
    url=os.environ.get("PUBLIC_URL"),
    inbox=SqliteInbox(os.environ.get("INBOX", "webhooks.db")),
)


@twilio.on("*")
def call(event: Event) -> str:
    print(f"call from {event.data['From']}", flush=True)
    return f"<Response><Say>Hello {event.data['From'][-4:]}</Say></Response>"


app = Flask(__name__)
app.register_blueprint(blueprint(twilio, "/webhooks/twilio"))

if __name__ == "__main__":
    app.run("127.0.0.1", int(os.environ.get("PORT", "8000")))
