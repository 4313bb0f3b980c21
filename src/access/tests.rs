//! Where tokens are found, and where not.

use hyper::HeaderMap;
use hyper::header::HeaderValue;

use super::*;
use crate::config::AccessTable;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

fn rules() -> Rules {
    let cookie = Some("session".to_owned());
    let subprotocols = vec!["bearer".to_owned()];
    Rules::new(&AccessTable { cookie, subprotocols, query_token: true, ..AccessTable::default() })
}

/// The tokens, with commas between them, and the subprotocol that is answered.
fn found(pairs: &[(&'static str, &'static str)], transport: Transport) -> (String, String) {
    let (headers, rules) = (headers(pairs), rules());
    let carried = Carried::of(&headers, None, None, transport, &rules);
    let protocol = carried.protocol().map(|name| name.to_str().unwrap().to_owned());
    let tokens: Vec<_> = carried.tokens().iter().map(|(_, token)| &**token).collect();
    (tokens.join(","), protocol.unwrap_or_default())
}

#[test]
fn headers_carry_tokens() {
    for (pairs, expected) in [
        (&[("authorization", "Bearer a.b")][..], "a.b"),
        (&[("authorization", "bearer  a ")][..], "a"),
        (&[("authorization", "Basic a")][..], ""),
        (&[("authorization", "Bearer")][..], ""),
        (&[("x-api-key", "k"), ("authorization", "Bearer a")][..], "a,k"),
        (&[("x-api-key", "")][..], ""),
        (&[("cookie", "x=1; session=s; y=2")][..], "s"),
        (&[("cookie", "x=1"), ("cookie", "session=\"s=\"")][..], "s="),
        (&[("cookie", "xsession=s; session=")][..], ""),
        (&[("cookie", "session=s"), ("x-api-key", "k")][..], "k"),
    ] {
        assert_eq!(found(pairs, Transport::Read).0, expected, "{pairs:?}");
    }
}

#[test]
fn subprotocols_carry_tokens_of_sockets_only() {
    let name = "sec-websocket-protocol";
    for (offered, tokens, protocol) in [
        ("taskcast.v2", "", "taskcast.v2"),
        ("taskcast.token.YS5i, taskcast.v2", "a.b", "taskcast.v2"),
        ("taskcast.v2,taskcast.token.YS5i", "a.b", "taskcast.v2"),
        ("taskcast.token.YS5i", "a.b", ""),
        ("bearer, a.b", "a.b", "bearer"),
        ("taskcast.v2, bearer, a.b", "a.b", "bearer"),
        ("bearer", "", "bearer"),
        ("other", "", ""),
        ("", "", ""),
    ] {
        let (carried, answered) = found(&[(name, offered)], Transport::Socket);
        assert_eq!((carried.as_str(), answered.as_str()), (tokens, protocol), "{offered}");
        assert_eq!(found(&[(name, offered)], Transport::Read), (String::new(), String::new()));
    }
    // What cannot be read is a token that does not count, not none.
    let headers = headers(&[(name, "taskcast.token.!")]);
    let carried = Carried::of(&headers, None, None, Transport::Socket, &rules());
    assert!(carried.has_token() && carried.bearer() == Some(""));
}
