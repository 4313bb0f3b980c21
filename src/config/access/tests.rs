//! Tables that hold and do not: what is wrong is said with its line, and no secret is shown.

use super::*;
use crate::core::access::Verb;

fn read(text: &str) -> Result<AccessTable, String> {
    let table = DeTable::parse(text).unwrap();
    let given = table.get_ref().iter().find(|(key, _)| key.get_ref() == NAME).unwrap().1;
    AccessTable::read(given)
        .map_err(|(at, what)| format!("{}: {what}", text[..at].matches('\n').count() + 1))
}

const ALL: &str = r#"[access]
anonymous = ["watch:public-*", "list"]
query_token = true
cookie = "session"
subprotocols = ["bearer"]

[[access.jwt]]
secret = "a secret of the issuer"
issuer = "https://login.example"
leeway_s = 5

[[access.jwt]]
jwks_url = "https://login.example/keys"
claim = "grants"

[[access.key]]
name = "workers"
sha256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
grants = ["publish:*"]
"#;

#[test]
fn a_table_is_read_and_what_is_shown_of_it_has_no_secret() {
    let access = read(ALL).unwrap();
    assert!(access.is_set() && access.query_token);
    assert!(access.anonymous.as_ref().unwrap().may(Verb::Watch, &"public-1".parse().unwrap()));
    assert_eq!((access.jwt[0].leeway_s, access.jwt[1].leeway_s), (5, LEEWAY_S));
    assert_eq!((&*access.jwt[0].claim, &*access.jwt[1].claim), (CLAIM, "grants"));
    assert!(matches!(access.keys[0].proof, KeyProof::Sha256([0x2c, 0x26, ..])));
    let shown = access.to_toml();
    assert!(
        shown.contains("secret = \"***\"")
            && !format!("{access:?}{shown}").contains("of the issuer")
    );
    let again = read(&shown.replace("***", "a secret of the issuer")).unwrap();
    assert_eq!(again.keys, access.keys);
    assert_eq!(again.jwt, access.jwt);
}

#[test]
fn a_secret_of_many_lines_is_hidden_whole() {
    let text = "[access]\nsecret = \"\"\"one\ntwo\"\"\"\nsecret_previous = 'a \"quoted\" one'\n";
    let shown = read(text).unwrap().to_toml().to_owned();
    assert_eq!(shown, "\n[access]\nsecret = \"***\"\nsecret_previous = \"***\"\n");
}

#[test]
fn nothing_is_said_where_there_is_nothing() {
    assert!(!read("[access]\n").unwrap().is_set());
    assert!(read("[access]\nanonymous = []\n").unwrap().is_set());
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (find, replace, expected) in [
        ("cookie", "kookie", "4: access: an unknown key; there are anonymous, query_token"),
        ("\"list\"", "\"lists\"", "2: access: anonymous has \"lists\": a grant is watch:TASKS"),
        ("\"session\"", "\"a b\"", "4: access: cookie must be the name of a cookie"),
        ("\"bearer\"", "\"\"", "5: access: subprotocols must be names"),
        (
            "secret = \"a secret of the issuer\"\n",
            "",
            "7: access.jwt: must have exactly one of secret,",
        ),
        ("leeway_s = 5", "jwks_file = \"x\"", "7: access.jwt: must have exactly one of secret,"),
        ("leeway_s = 5", "leeway_s = 601", "10: access.jwt: leeway_s must be 0 to 600"),
        (
            "\"bearer\"]",
            "\"bearer\"]\nrevocation_days = 0",
            "6: access: revocation_days must be 1 to 3650",
        ),
        (
            "\"https://login.example/keys\"",
            "\"login.example\"",
            "13: access.jwt: jwks_url must be an http",
        ),
        (
            "secret = \"a secret",
            "secret_file = \"/nowhere",
            "8: access.jwt: secret_file cannot be read, /nowhere",
        ),
        ("2c26", "2c2", "18: access.key: sha256 must be the SHA-256"),
        ("2c26", "2cé", "18: access.key: sha256 must be the SHA-256"),
        ("name = \"workers\"\n", "", "16: access.key: name must say whose it is"),
        ("publish:*", "publish", "19: access.key: grants has \"publish\": a grant is"),
        ("[[access.key]]", "[access.key]", "16: access: key must be tables: write [[access.key]]"),
    ] {
        let text = ALL.replacen(find, replace, 1);
        assert_ne!(text, ALL, "{find}");
        let wrong = read(&text).unwrap_err();
        assert!(wrong.starts_with(expected), "{replace}: {wrong}");
    }
}

#[test]
fn the_application_is_read_and_its_password_hidden() {
    let text = "[access.ask]\nurl = \"https://ada:se%20cret@app:3000/may?a=b\"\n\
                headers = [\"Cookie\", \"authorization\", \"cookie\"]\ncache_s = 5\n";
    let access = read(text).unwrap();
    let ask = access.ask.as_ref().unwrap();
    assert!(access.is_set() && access.has_secrets);
    assert_eq!(ask.url, "https://app:3000/may?a=b");
    assert_eq!(ask.authorization, Some(Secret(b"Basic YWRhOnNlIGNyZXQ=".to_vec())));
    assert_eq!(ask.headers, ["authorization", "cookie"]);
    assert_eq!((ask.timeout_ms, ask.cache_s), (2_000, 5));
    let shown = access.to_toml();
    assert!(shown.contains("[access.ask]") && shown.contains("ada:***@app:3000"), "{shown}");
    assert!(!format!("{access:?}{shown}").contains("se%20"), "{access:?}");
    let plain = read("[access.ask]\nurl = \"http://app/\"\n").unwrap();
    assert!(!plain.has_secrets && plain.ask.as_ref().unwrap().headers == ["cookie"]);
    assert_eq!(read(plain.to_toml()).unwrap().ask, plain.ask);
    for (text, what) in [
        ("url = \"ftp://app\"", "access.ask: url must be an http:// or https:// URL"),
        ("url = \"/may\"", "access.ask: url must be"),
        ("headers = []", "access.ask: url must be"),
        ("url = \"http://a\"\nheaders = [\"\"]", "access.ask: headers must be names"),
        ("url = \"http://a\"\ntimeout_ms = 0", "access.ask: timeout_ms must be 1 to 60000"),
        ("url = \"http://a\"\nsecret = 1", "access.ask: an unknown key"),
    ] {
        let error = read(&format!("[access.ask]\n{text}\n")).unwrap_err();
        assert!(error.contains(what), "{text}: {error}");
    }
}
