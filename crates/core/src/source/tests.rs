//! Definitions that hold and do not; keys and ids.

mod meaning;

use std::sync::Arc;

use super::*;

fn definition(form: Form, field: &str) -> Definition {
    Definition {
        name: "jobs".into(),
        key: "jobs:{id}".into(),
        field: (form != Form::Fields).then(|| field.into()),
        form,
        ..Definition::default()
    }
}

fn source(definition: Definition) -> Arc<Source> {
    Arc::new(Source::new(definition).unwrap())
}

fn problem(change: impl FnOnce(&mut Definition)) -> String {
    let mut changed = definition(Form::Json, "data");
    change(&mut changed);
    Source::new(changed).unwrap_err().to_string()
}

fn is(path: &str, values: &[&str]) -> Rule {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Rule::In { path: path.into(), values }
}

#[test]
fn a_key_is_made_of_an_id_and_the_id_of_the_key() {
    let with = |key: &str| source(Definition { key: key.into(), ..definition(Form::Fields, "") });
    for (template, id, key) in [
        ("agno:os:events:{id}:1:events", "r-1", "agno:os:events:r-1:1:events"),
        ("stream:{{{id}}}:chunks", "a", "stream:{a}:chunks"),
        ("agent-stream:{workspace}:{session}", "w:s", "agent-stream:w:s"),
        ("{a}/{b}/{a}", "x:y", "x/y/x"),
        ("trinity:events", "jobs", "trinity:events"),
    ] {
        let source = with(template);
        assert!(source.has(id), "{template}");
        assert_eq!(source.stream_key(id), key);
        assert_eq!(source.id_of(key).as_deref(), Some(id));
        assert_eq!(source.id_of(&format!("{key}x y")), None);
    }
    let two = with("{a}/{b}/{a}");
    assert_eq!(two.id_of("x/y/z"), None);
    for id in ["x", "x:y:z", ":y", "x:", "x:y z", ""] {
        assert!(!two.has(id), "{id}");
    }
    assert!(!with("trinity:events").has("x"));
}

#[test]
fn an_id_is_what_its_pattern_says_and_bounded() {
    let pattern = |id: &str| definition(Form::Fields, "").with_id(id);
    let mail = source(pattern("[a-z]+@[a-z]+"));
    assert!(mail.has("a@b") && !mail.has("a@b\n") && !mail.has("xa@b!") && !mail.has("a"));
    let any = source(pattern("(?s).*"));
    assert!(any.has(&"x".repeat(ID_BYTES_MAX)) && !any.has(&"x".repeat(ID_BYTES_MAX + 1)));
    assert!(source(pattern("a|b")).has("b"));
    assert!(!source(pattern("a|b")).has("ab"));
}

impl Definition {
    fn with_id(self, id: &str) -> Self {
        Self { id: Some(id.into()), ..self }
    }
}

#[test]
fn what_is_wrong_with_a_definition_is_named_by_its_key() {
    type Case = (&'static str, fn(&mut Definition));
    let cases: [Case; 25] = [
        ("name must be 1 to 32", |it| it.name = "A".into()),
        ("name may not be sre", |it| it.name = "sre".into()),
        ("name may not be one of tasks", |it| it.name = "ws".into()),
        ("key must have 1 to 512 bytes", |it| it.key = String::new()),
        ("key must have 1 to 512 bytes", |it| it.key = "x".repeat(600)),
        ("key must have each '{'", |it| it.key = "a{b".into()),
        ("key must have each '{'", |it| it.key = "a}b".into()),
        ("key must have each '{'", |it| it.key = "{}".into()),
        ("key must have each '{'", |it| it.key = "{A}".into()),
        ("key may have 8", |it| it.key = "{a}{b}{c}{d}{e}{f}{g}{h}{i}".into()),
        ("id is no regular expression: unclosed group", |it| it.id = Some("(".into())),
        ("id is no regular expression", |it| it.id = Some("a)|(b".into())),
        ("id is too large a pattern", |it| it.id = Some("((a{100}){100}){100}".into())),
        ("entry must name the field", |it| it.field = None),
        ("entry must name the field", |it| it.field = Some(String::new())),
        ("entry as = \"fields\" has no field", |it| it.form = Form::Fields),
        ("type has an empty name", |it| it.types = vec!["a..b".into()]),
        ("type has a path of more", |it| it.types = vec!["a.a.a.a.a.a.a.a.a".into()]),
        ("skip may have 16", |it| it.skip = vec![Rule::Has("a".into()); 17]),
        ("end has a text of more", |it| it.end = vec![Rule::Text("x".repeat(2_000))]),
        ("end must have 1 to 64 values", |it| it.end = vec![is("a", &[])]),
        ("failed says which", |it| it.failed = vec![Rule::Has("a".into())]),
        ("end_only_if_last says when", |it| it.end_only_if_last = true),
        ("state has {x}, which is no variable", |it| {
            it.state = Some(StatePlace { key: "s:{x}".into(), field: None });
        }),
        ("missing must wait", |it| it.missing = Missing::Wait(0)),
    ];
    for (said, change) in cases {
        let is = problem(change);
        assert!(is.starts_with(said), "{is}");
    }
    let mut fields = definition(Form::Fields, "");
    fields.end = vec![Rule::Text("x".into())];
    assert!(Source::new(fields).unwrap_err().to_string().starts_with("end has a text, which"));
}

#[test]
fn a_status_is_under_a_key_or_in_a_field_of_one() {
    let place = |key: &str, field: Option<&str>| StatePlace {
        key: key.into(),
        field: field.map(str::to_owned),
    };
    let with = |state| source(Definition { state: Some(state), ..definition(Form::Fields, "") });
    let string = with(place("jobs:{id}:status", None));
    assert_eq!(string.state_key("t1"), Some(StateKey::String("jobs:t1:status".into())));
    let hash = with(place("jobs", Some("{id}")));
    let field = StateKey::Field { hash: "jobs".into(), field: "t1".into() };
    assert_eq!(hash.state_key("t1"), Some(field));
    assert_eq!(source(definition(Form::Fields, "")).state_key("t1"), None);
}
