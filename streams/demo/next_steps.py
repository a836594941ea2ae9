"""What a newcomer may type next."""

from __future__ import annotations

_TEXT = """
  Publish from Python, in a second terminal (while this one runs):

    export KAFKA_BOOTSTRAP_SERVERS={bootstrap} STREAMS_NAMESPACE={namespace}
    .venv/bin/python - <<'END'
    from producers import JobProducer
    from schemas.models.email import SendEmail

    with JobProducer() as producer:
        mail = SendEmail(to=["bob@example.com"], subject="Hello", text="It works.")
        print(producer.publish(mail, key="bob").id)
    END

  or from the shell:

    .venv/bin/faust -A streams enqueue email jobs.email.SendEmail \\
        '{{"to": ["bob@example.com"], "subject": "Hello", "text": "It works."}}' --key bob
"""


def next_steps(bootstrap: str, namespace: str) -> str:
    """Commands that publish a job to the running worker."""
    return _TEXT.format(bootstrap=bootstrap, namespace=namespace).rstrip()
