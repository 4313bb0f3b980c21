"""An application that says who may do what with which task: what `[access.ask]` of Taskcast asks.

    pip install fastapi uvicorn
    uvicorn may_watch_fastapi:app --port 3000

    [access.ask]
    url     = "http://127.0.0.1:3000/may-watch"
    headers = ["cookie"]
"""

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import cookie_parser

app = FastAPI()

# Yours are in a database: whose each session is, and what the tasks begin with that are theirs.
SESSIONS = {"the-session-of-ada": "ada", "the-session-of-bob": "bob"}
PREFIXES = {"ada": "ada-", "bob": "bob-"}


class Question(BaseModel):
    # None where the verb is list or metrics; "*" to make a task.
    task: str | None
    # None for the agent's tasks.
    source: str | None
    verb: str
    # Those of `headers` that the request has.
    headers: dict[str, str]


@app.post("/may-watch")
def may_watch(question: Question) -> dict:
    user = SESSIONS.get(cookie_parser(question.headers.get("cookie", "")).get("session"))
    # Whatever is not asked for here is not allowed.
    if user is None or question.verb != "watch" or question.source is not None:
        return {"allow": False}
    # A yes counts for so long at most: a right that is withdrawn ends by then.
    return {"allow": question.task.startswith(PREFIXES[user]), "seconds": 60}
