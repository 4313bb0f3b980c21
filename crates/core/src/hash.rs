//! Hashes by which what was seen is known again: the same in each run, of no use against who looks for
//! equal ones.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher as _};

use serde_json::Value;

/// Integers up to here are exact as floating-point numbers.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// The hash of a value.
pub fn of(value: &(impl Hash + ?Sized)) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(value)
}

/// Equal for what is equal as JSON: the order of members and the way a number is written do not
/// matter. The parser has bounded the depth.
pub fn of_json(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    match value {
        Value::Null => 0_u8.hash(&mut hasher),
        Value::Bool(bool) => (1_u8, bool).hash(&mut hasher),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => (2_u8, integer).hash(&mut hasher),
            (None, Some(float)) if float.fract() == 0.0 && float.abs() < EXACT_MAX => {
                (2_u8, float as i64).hash(&mut hasher);
            }
            _ => (2_u8, number).hash(&mut hasher),
        },
        Value::String(text) => (3_u8, text).hash(&mut hasher),
        Value::Array(values) => {
            4_u8.hash(&mut hasher);
            values.iter().for_each(|value| of_json(value).hash(&mut hasher));
        }
        Value::Object(members) => {
            let of_member = |(name, value): (&String, &Value)| of(&(name, of_json(value)));
            // A sum, as their order does not matter.
            let sum = members.iter().map(of_member).fold(0, u64::wrapping_add);
            (5_u8, members.len(), sum).hash(&mut hasher);
        }
    }
    hasher.finish()
}
