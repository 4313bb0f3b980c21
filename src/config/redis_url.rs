//! Redis URLs: which are allowed, what a Sentinel URL says, and how one is shown without its
//! password.

use redis::{ConnectionAddr, IntoConnectionInfo as _};

/// The forms of a Redis URL, for messages.
pub(super) const FORMS: &str = "redis://[user:password@]host[:port][/db], rediss://…, \
                     unix:///path[?db=N], redis+unix://… or \
                     redis+sentinel://[user:password@]host:port[,host:port…]/master-name[/db]";

/// What stands for a password.
const MASK: &str = "***";

/// The end of a `rediss` URL that trusts every certificate. It is refused.
const INSECURE: &str = "#insecure";

/// The port of a Sentinel where the URL has none.
const SENTINEL_PORT: u16 = 26379;

/// What a `redis+sentinel://` URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentinelUrl {
    /// The Sentinels, in the order of the URL.
    pub sentinels: Vec<ConnectionAddr>,
    /// The name of the master that they watch.
    pub master_name: String,
    /// User and password for the master (not for the Sentinels).
    pub username: Option<String>,
    /// See `username`.
    pub password: Option<String>,
    /// The database.
    pub db: i64,
}

impl SentinelUrl {
    /// Reads the URL; none where it is not of this scheme.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(url: &str) -> Option<Result<Self, String>> {
        url.strip_prefix("redis+sentinel://").map(Self::parse_rest)
    }

    fn parse_rest(rest: &str) -> Result<Self, String> {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let (master_name, db) = path.split_once('/').unwrap_or((path, "0"));
        if master_name.is_empty() {
            return Err("has to name the master: redis+sentinel://host:port/master-name".into());
        }
        let sentinels = hosts.split(',').map(sentinel).collect::<Result<Vec<_>, _>>()?;
        // The master is written as a plain URL, so that one parser reads all the rest.
        let userinfo = credentials.map(|text| format!("{text}@")).unwrap_or_default();
        let master = connection_info(&format!("redis://{userinfo}master/{db}"))?;
        let settings = master.redis_settings();
        Ok(Self {
            sentinels,
            master_name: master_name.to_owned(),
            username: settings.username().map(str::to_owned),
            password: settings.password().map(str::to_owned),
            db: settings.db(),
        })
    }
}

/// A Sentinel's `host[:port]`.
fn sentinel(host: &str) -> Result<ConnectionAddr, String> {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let url = if has_port {
        format!("redis://{host}")
    } else {
        format!("redis://{host}:{SENTINEL_PORT}")
    };
    connection_info(&url).map(|info| info.addr().clone())
}

/// Whether Taskcast can connect to such a URL; the error says what is allowed.
pub(super) fn check(url: &str) -> Result<(), String> {
    // A password that really is `***` can be written with per cent signs.
    if url.contains(MASK) && masked(url) == url {
        return Err(format!(
            "has {MASK} for its password, as --print-config shows it: put the password in its place"
        ));
    }
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    match scheme {
        "rediss" if url.ends_with(INSECURE) => Err(format!(
            "must not end in {INSECURE}, as that trusts whoever answers: name the authority of the \
             certificate with redis_ca"
        )),
        "redis" | "rediss" | "unix" | "redis+unix" => connection_info(url).map(drop),
        "redis+sentinel" => SentinelUrl::parse(url).map_or(Ok(()), |parsed| parsed.map(drop)),
        _ => Err(format!("must be a Redis URL: {FORMS}")),
    }
}

/// Whether it is a URL of a Redis behind TLS.
pub(super) fn is_tls(url: &str) -> bool {
    url.starts_with("rediss://")
}

fn connection_info(url: &str) -> Result<redis::ConnectionInfo, String> {
    url.into_connection_info().map_err(|error| {
        let detail = error.detail().unwrap_or("it does not parse");
        format!("must be a Redis URL ({detail}): {FORMS}")
    })
}

/// The URL with `***` for its password.
///
/// Hides too much rather than too little: the text may be no valid URL, and a password may have any
/// character in it. So what is shown is what looks like something else in a place for that.
pub fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
        return if is_place(url) { url.to_owned() } else { MASK.to_owned() };
    };
    let shown = match scheme {
        "unix" | "redis+unix" => masked_path(rest),
        _ => masked_authority(rest),
    };
    format!("{scheme}://{shown}")
}

/// A text that need not be a URL, such as a part of the command line, without a password.
pub(crate) fn without_passwords(text: &str) -> String {
    let may_hold_one = text.contains("://") || text.contains('@') || text.contains("pass=");
    if may_hold_one { masked(text) } else { text.to_owned() }
}

/// What is behind `unix://`: a path, and a password in the query.
fn masked_path(rest: &str) -> String {
    let (path, query) = parted(rest, '?');
    if path.contains(['@', ':', '#']) {
        return MASK.to_owned();
    }
    format!("{path}{}", query.map(masked_query).unwrap_or_default())
}

/// What is behind `redis://` and the like: user and password, hosts, a path, a query.
fn masked_authority(rest: &str) -> String {
    let (credentials, place) = match rest.rsplit_once('@') {
        Some((credentials, place)) => (Some(credentials), place),
        None => (None, rest),
    };
    // Where a query has an @ in it, what is before that is more than user and password.
    let credentials = match credentials {
        Some(text) if text.contains('?') => return MASK.to_owned(),
        Some(text) => match text.split_once(':') {
            // A user alone may be a password in the wrong place.
            Some((user, password)) if user.bytes().all(is_plain) && !password.is_empty() => {
                format!("{user}:{MASK}@")
            }
            _ => format!("{MASK}@"),
        },
        None => String::new(),
    };
    let (place, insecure) = match place.strip_suffix(INSECURE) {
        Some(place) => (place, INSECURE),
        None => (place, ""),
    };
    let (place, query) = parted(place, '?');
    let place = if is_place(place) { place } else { MASK };
    format!("{credentials}{place}{}{insecure}", query.map(masked_query).unwrap_or_default())
}

/// A query, with the `?` before it.
fn masked_query(query: &str) -> String {
    let parameter = |parameter: &str| match parameter.split_once('=') {
        Some((name @ ("db" | "protocol" | "user"), value)) if value.bytes().all(is_plain) => {
            format!("{name}={value}")
        }
        Some(("pass", _)) => format!("pass={MASK}"),
        _ => MASK.to_owned(),
    };
    format!("?{}", query.split('&').map(parameter).collect::<Vec<_>>().join("&"))
}

fn parted(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, behind)| (before, Some(behind)))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// What a name is made of: not what would part a URL, and no per cent sign, which could hide that.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)
}

/// Whether it is `host[:port][,host[:port]…][/path]`, and so neither user nor password.
fn is_place(text: &str) -> bool {
    let (hosts, path) = parted(text, '/');
    path.is_none_or(|path| path.bytes().all(|b| is_plain(b) || b == b'/'))
        && hosts.split(',').all(|host| {
            let (name, port) = match host.rsplit_once(':') {
                Some((name, port)) if !port.ends_with(']') => (name, port),
                _ => (host, ""),
            };
            let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
            let is_name = match address {
                Some(address) => {
                    address.bytes().all(|b| b.is_ascii_hexdigit() || b":.".contains(&b))
                }
                None => name.bytes().all(is_plain),
            };
            is_name && port.bytes().all(|b| b.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_documented_form_is_allowed() {
        for url in [
            "redis://127.0.0.1:6379/0",
            "redis://localhost",
            "redis://:secret@localhost/3",
            "rediss://user:secret@redis.example:6380",
            "unix:///run/redis.sock?db=2",
            "redis+unix:///run/redis.sock",
            "redis+sentinel://a:26379,b:26379/main",
            "redis+sentinel://user:secret@a,[::1]:26380/main/2",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for url in [
            "",
            "localhost:6379",
            "http://localhost",
            "redis://",
            "redis://host:port",
            "redis://host/db",
            "redis+sentinel://a:26379",
            "redis+sentinel:///main",
            "redis+sentinel://a:x/main",
            "redis+sentinel://a/main/x",
            "rediss://host/0#insecure",
        ] {
            assert!(check(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_sentinel_url_is_taken_apart() {
        let url = "redis+sentinel://app:p%40ss@a,b:1,[::1]/main/2";
        assert_eq!(
            SentinelUrl::parse(url),
            Some(Ok(SentinelUrl {
                sentinels: vec![
                    ConnectionAddr::Tcp("a".to_owned(), 26379),
                    ConnectionAddr::Tcp("b".to_owned(), 1),
                    ConnectionAddr::Tcp("::1".to_owned(), 26379),
                ],
                master_name: "main".to_owned(),
                username: Some("app".to_owned()),
                password: Some("p@ss".to_owned()),
                db: 2,
            }))
        );
        assert_eq!(SentinelUrl::parse("redis://a"), None);
    }

    #[test]
    fn what_is_no_password_is_shown() {
        for (url, shown) in [
            ("redis://u:secret@h:1/0", "redis://u:***@h:1/0"),
            ("redis://:secret@h", "redis://:***@h"),
            ("redis://secret:@h", "redis://***@h"),
            ("redis://secret@h", "redis://***@h"),
            ("redis://:sec/r@et@h", "redis://:***@h"),
            (
                "redis+sentinel://u:s@a:1,[::1]:2/main/0",
                "redis+sentinel://u:***@a:1,[::1]:2/main/0",
            ),
            ("unix:///s?user=u&pass=secret&db=1", "unix:///s?user=u&pass=***&db=1"),
            ("rediss://h?protocol=resp3#insecure", "rediss://h?protocol=resp3#insecure"),
            ("unix:///run/my redis.sock?db=2", "unix:///run/my redis.sock?db=2"),
            ("u:secret@h", "***"),
            ("redis://h:1/0", "redis://h:1/0"),
            ("localhost:6379", "localhost:6379"),
        ] {
            assert_eq!(masked(url), shown);
        }
    }

    #[test]
    fn a_masked_url_is_no_url() {
        for url in ["redis://u:***@h", "redis://:***@h:1/0", "unix:///s?pass=***", "***"] {
            assert!(check(url).is_err_and(|error| error.contains("--print-config")), "{url}");
        }
        assert_eq!(check("redis://u:%2A%2A%2A@h"), Ok(()));
    }

    proptest! {
        #[test]
        fn a_password_is_never_shown(
            form in prop::sample::select(&FORMS_WITH_PASSWORD[..]),
            head in "[a-z0-9/?#@:%&=,. \\[\\]\"'*-]{0,6}",
            tail in "[a-z0-9/?#@:%&=,. \\[\\]\"'*-]{0,6}",
        ) {
            // Letters that stand nowhere else, so that no part of it shows by chance.
            let url = form.replace("PASSWORD", &format!("{head}QXZ{tail}"));
            let encoded = url.replace("QXZ", "%51XZ");
            for url in [url, encoded] {
                let shown = masked(&url);
                prop_assert!(!shown.contains("XZ"), "{url} shows as {shown}");
                prop_assert_eq!(masked(&shown), shown.clone(), "of {}", url);
                if let Err(error) = check(&url) {
                    prop_assert!(!error.contains("XZ"), "{url}: {error}");
                }
            }
        }
    }

    /// Where a password may be written, rightly or not.
    const FORMS_WITH_PASSWORD: [&str; 16] = [
        "redis://user:PASSWORD@host:6379/0",
        "redis://:PASSWORD@host",
        "rediss://user:PASSWORD@host#insecure",
        "redis+sentinel://user:PASSWORD@a:1,b:2/main/0",
        "unix:///run/redis.sock?pass=PASSWORD",
        "redis+unix:///s?user=u&pass=PASSWORD&db=1",
        "unix://user:PASSWORD@/run/redis.sock",
        "redis://host?pass=PASSWORD",
        "http://user:PASSWORD@host",
        "valkey://:PASSWORD@host/0?db=1",
        "user:PASSWORD@host:6379",
        "//user:PASSWORD@host",
        "redis:/user:PASSWORD@host",
        "redis:user:PASSWORD@host",
        "redis://user:PASSWORD@host/0@1",
        "user%3APASSWORD@host",
    ];
}
