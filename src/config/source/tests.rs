//! Tables that hold and do not: what is wrong is said with its line.

use toml::de::DeTable;

use super::*;

fn read(text: &str) -> Result<SourceTables, String> {
    let table = DeTable::parse(text).unwrap();
    let given = table.get_ref().iter().find(|(key, _)| key.get_ref() == NAME).unwrap().1;
    SourceTables::read(given)
        .map_err(|(at, what)| format!("{}: {what}", text[..at].matches('\n').count() + 1))
}

const AGNO: &str = r#"[[source]]
name = "agno"
key = "agno:os:events:{id}:1:events"
id = "[A-Za-z0-9_-]{1,128}"
entry = { field = "sse", as = "sse" }
type = ["event", "type"]
skip = [{ has = "reopen" }]
end = [{ has = "terminal" }, { path = "status", in = ["done", 5, true] }, { text = "[DONE]" }]
failed = [{ path = "status", in = ["error"] }]
end_only_if_last = true
state = { string = "agno:os:events:{id}:status" }
missing = { wait_s = 60 }

[[source]]
name = "sre"
status = { SUCCESS = "done" }
"#;

#[test]
fn tables_are_read_and_what_is_shown_of_them_reads_the_same() {
    let tables = read(AGNO).unwrap();
    let agno = tables.sources.find("agno").unwrap();
    assert_eq!(agno.missing(), Missing::Wait(60));
    assert!(agno.has_ends() && agno.ends_within() == 1);
    assert_eq!(agno.stream_key("r1"), "agno:os:events:r1:1:events");
    assert_eq!(tables.words.status("SUCCESS".into()), "done");
    assert_eq!(tables.words.status("PENDING".into()), "PENDING");
    assert_eq!(read(tables.to_toml()).unwrap(), tables);
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (find, replace, expected) in [
        ("name = \"agno\"", "name = 5", "2: a source: name must be a text"),
        ("name = \"agno\"\n", "", "1: source \"\": name must be 1 to 32"),
        (
            "key = \"agno:os:events:{id}",
            "key = \"{id",
            "3: source \"agno\": key must have each '{'",
        ),
        ("id = \"[A", "id = \"([A", "4: source \"agno\": id "),
        ("as = \"sse\"", "as = \"xml\"", "5: source \"agno\": as must be one of fields, json"),
        ("{ field = \"sse\", as", "{ as", "5: source \"agno\": entry must name the field"),
        (
            "{ field = \"sse\"",
            "{ feld = \"sse\"",
            "5: source \"agno\": an unknown key; there are field, as",
        ),
        ("[\"event\", \"type\"]", "{}", "6: source \"agno\": type must be a text or a list"),
        ("[{ has = \"reopen\" }]", "\"x\"", "7: source \"agno\": skip must be a list"),
        (
            "[{ has = \"reopen\" }]",
            "[{ has = \"a\", text = \"b\" }]",
            "7: source \"agno\": skip must be a list",
        ),
        ("[{ has = \"reopen\" }]", "[{ path = \"a\" }]", "7: source \"agno\": skip must be a list"),
        (
            "[{ has = \"reopen\" }]",
            "[{ with = \"a\" }]",
            "7: source \"agno\", skip: an unknown key",
        ),
        ("[\"error\"]", "[]", "9: source \"agno\": failed must have 1 to 64 values"),
        ("= true", "= \"yes\"", "10: source \"agno\": end_only_if_last must be true or false"),
        ("{ string = \"agno", "{ hash = \"agno", "11: source \"agno\": state must be { string"),
        ("{id}:status", "{run}:status", "11: source \"agno\": state has {run}, which"),
        ("{ wait_s = 60 }", "\"wait\"", "12: source \"agno\": missing must be \"not_found\" or"),
        (
            "{ wait_s = 60 }",
            "{ wait_s = -1 }",
            "12: source \"agno\": missing must be \"not_found\" or",
        ),
        ("{ wait_s = 60 }", "{ wait_s = 9999 }", "12: source \"agno\": missing must wait"),
        ("missing =", "mising =", "12: source \"agno\": an unknown key; there are name, key"),
        ("name = \"sre\"", "name = \"agno\"", "15: source \"agno\": name is there twice"),
        (
            "name = \"sre\"",
            "name = \"tasks\"\nkey = \"x\"",
            "17: source \"tasks\": status is for sre",
        ),
        ("name = \"sre\"", "name = \"sre\"\nkey = \"x\"", "16: source \"sre\": key is built in"),
        ("= \"done\"", "= \"finished\"", "16: source \"sre\": status must map to one of queued"),
    ] {
        let text = AGNO.replacen(find, replace, 1);
        assert_ne!(text, AGNO, "{find}");
        let is = read(&text).unwrap_err();
        assert!(is.starts_with(expected), "{is}\n{expected}");
    }
    assert!(read("[source]\nname = \"x\"\n").unwrap_err().contains("write [[source]]"));
    assert!(read("source = [5]\n").unwrap_err().contains("write [[source]], a table"));
    let many: String =
        (0..65).map(|at| format!("[[source]]\nname = \"s{at}\"\nkey = \"k{at}\"\n")).collect();
    assert!(read(&many).unwrap_err().starts_with("194: source \"s64\": name one more than"));
}
