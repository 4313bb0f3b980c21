// An application that says who may do what with which task: what `[access.ask]` of Taskcast asks.
//
//     npm install express
//     PORT=3000 node may-watch-express.mjs
//
//     [access.ask]
//     url     = "http://127.0.0.1:3000/may-watch"
//     headers = ["cookie"]
import express from "express";

// Yours are in a database: whose each session is, and what the tasks begin with that are theirs.
const sessions = new Map([["the-session-of-ada", "ada"], ["the-session-of-bob", "bob"]]);
const prefixes = new Map([["ada", "ada-"], ["bob", "bob-"]]);

function cookie(header, name) {
  const pairs = header.split(";").map((pair) => pair.trim().split("="));
  return pairs.find(([known]) => known === name)?.[1];
}

const app = express();

// `task` is null where `verb` is list or metrics, and "*" to make a task; `source` is null for the agent's tasks;
// `headers` are those of the configuration that the request has.
app.post("/may-watch", express.json(), (request, response) => {
  const { task, source, verb, headers } = request.body;
  const user = sessions.get(cookie(headers.cookie ?? "", "session"));
  // Whatever is not asked for here is not allowed.
  if (user === undefined || verb !== "watch" || source !== null) {
    return response.json({ allow: false });
  }
  // A yes counts for so long at most: a right that is withdrawn ends by then.
  response.json({ allow: task.startsWith(prefixes.get(user)), seconds: 60 });
});

app.listen(process.env.PORT ?? 3000, "127.0.0.1");
