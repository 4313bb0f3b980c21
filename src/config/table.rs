//! What is known of a key, and the macro that makes a struct, its defaults and its rows of one list:
//! reading, printing, `--help` and the documentation follow the rows.

use super::layers::Raw;

/// One key: how its value gets into an `S` and out of it, and all that is said of it.
pub(crate) struct Row<S: 'static> {
    /// The name in the file.
    pub(super) name: &'static str,
    /// What it does: lines as they were written, each with a newline.
    pub(super) about: &'static str,
    /// Its flag, where it has one.
    pub(super) flag: Option<Flag>,
    /// Which values there are, for messages and documentation.
    pub(super) allowed: fn() -> String,
    /// The words that can be chosen, where it is a choice.
    pub(super) words: fn() -> &'static [&'static str],
    /// Sets it; the error says what is allowed.
    pub(super) set: fn(&mut S, &Raw) -> Result<(), String>,
    /// Its value, as the file has it.
    pub(super) show: fn(&S) -> toml::Value,
}

/// The flag of a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    /// Without the dashes; none: it is called as the key.
    pub(crate) name: Option<&'static str>,
    /// What its value is called; none: it has no value and means `true`.
    pub(crate) value_name: Option<&'static str>,
    /// It may be given several times.
    pub(crate) repeated: bool,
    /// Each command that uses Redis has it, not `serve` alone.
    pub(crate) everywhere: bool,
    /// The key whose flag cannot be given beside it.
    pub(crate) excludes: Option<&'static str>,
    /// The variable of the environment that sets the key besides `TASKCAST_<KEY>`.
    pub(crate) variable: Option<&'static str>,
    /// The default in words, where it is not the same on each machine.
    pub(crate) default: Option<&'static str>,
}

impl Flag {
    /// A flag without a value.
    pub(super) const SWITCH: Self = Self {
        name: None,
        value_name: None,
        repeated: false,
        everywhere: false,
        excludes: None,
        variable: None,
        default: None,
    };

    /// A flag with a value.
    pub(super) const fn of(value_name: &'static str) -> Self {
        Self { value_name: Some(value_name), ..Self::SWITCH }
    }

    /// The same for each command that uses Redis.
    pub(super) const fn everywhere(self) -> Self {
        Self { everywhere: true, ..self }
    }
}

/// Makes a struct of a list of keys, each with what it does, its type, its default, its
/// [`Form`](super::form::Form) and, where it has one, its flag. What stands in `beside` are fields
/// that are no keys.
macro_rules! settings {
    (
        $(#[$meta:meta])*
        struct $struct:ident;
        $(
            $(#[doc = $about:literal])+
            $name:ident: $type:ty = $default:expr, $form:expr $(, flag $flag:expr)?;
        )+
        beside {
            $($(#[$beside_meta:meta])+ $beside:ident: $beside_type:ty = $beside_default:expr;)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $struct {
            $($(#[doc = $about])+ pub $name: $type,)+
            $($(#[$beside_meta])+ pub $beside: $beside_type,)*
        }

        impl Default for $struct {
            fn default() -> Self {
                Self { $($name: $default,)+ $($beside: $beside_default,)* }
            }
        }

        impl $struct {
            /// What is known of each key, in the order of this page.
            pub(in crate::config) const ROWS: &[Row<Self>] = &[$(Row {
                name: stringify!($name),
                about: concat!($($about, "\n"),+),
                flag: settings!(@flag $($flag)?),
                allowed: || Form::allowed(&$form),
                words: || Form::words(&$form),
                set: |settings, raw| {
                    settings.$name = Form::read(&$form, raw)?;
                    Ok(())
                },
                show: |settings| Form::show(&$form, &settings.$name),
            },)+];
        }
    };
    (@flag) => { None };
    (@flag $flag:expr) => { Some($flag) };
}

pub(super) use settings;
