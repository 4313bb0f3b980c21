//! A slot map: values in one dense array, named by keys that never name a later value by mistake.

/// Names a value of a [`Slots`]. A key whose value was removed finds nothing, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// The slot's number.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// The key as one number, for a place that holds only numbers.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The key behind [`Key::to_bits`].
    pub fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// The slot map. Insert, remove and look-up take constant time; free slots are used again, the
/// last freed first, so that the array stays dense and warm.
#[derive(Debug)]
pub struct Slots<T> {
    slots: Vec<Slot<T>>,
    free_head: u32,
    len: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    Used(T),
    Free { next: u32 },
}

const NONE: u32 = u32::MAX;

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free_head: NONE, len: 0 }
    }
}

impl<T> Slots<T> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of slots, used and free.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Puts a value into a slot.
    pub fn insert(&mut self, value: T) -> Key {
        self.len += 1;
        let index = self.free_head;
        if let Some(slot) = self.slots.get_mut(index as usize) {
            if let Content::Free { next } = slot.content {
                self.free_head = next;
            }
            slot.content = Content::Used(value);
            return Key { index, generation: slot.generation };
        }
        let index = self.slots.len() as u32;
        self.slots.push(Slot { generation: 0, content: Content::Used(value) });
        Key { index, generation: 0 }
    }

    /// Takes a value out; none where the key is stale.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index())?;
        if slot.generation != key.generation || matches!(slot.content, Content::Free { .. }) {
            return None;
        }
        slot.generation = slot.generation.wrapping_add(1);
        let free = Content::Free { next: self.free_head };
        self.free_head = key.index;
        self.len -= 1;
        match std::mem::replace(&mut slot.content, free) {
            Content::Used(value) => Some(value),
            Content::Free { .. } => None,
        }
    }

    /// The value, unless the key is stale.
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.index()) {
            Some(Slot { generation, content: Content::Used(value) })
                if *generation == key.generation =>
            {
                Some(value)
            }
            _ => None,
        }
    }

    /// The value, unless the key is stale.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.index()) {
            Some(Slot { generation, content: Content::Used(value) })
                if *generation == key.generation =>
            {
                Some(value)
            }
            _ => None,
        }
    }

    /// The key of the value in a slot, by the slot's number.
    pub fn key_at(&self, index: usize) -> Option<Key> {
        match self.slots.get(index) {
            Some(Slot { generation, content: Content::Used(_) }) => {
                Some(Key { index: index as u32, generation: *generation })
            }
            _ => None,
        }
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        (0..self.slots.len()).filter_map(|index| self.key_at(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slots = Slots::default();
        let old = slots.insert('a');
        assert_eq!(slots.remove(old), Some('a'));
        let new = slots.insert('b');
        assert_eq!(new.index(), old.index());
        assert_eq!(slots.get(old), None);
        assert_eq!(slots.remove(old), None);
        assert_eq!(slots.get(Key::from_bits(new.to_bits())), Some(&'b'));
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(steps in prop::collection::vec((any::<bool>(), 0..20usize), 0..200)) {
            let mut slots = Slots::default();
            let mut model = HashMap::new();
            let mut keys = Vec::new();
            for (number, (insert, which)) in steps.into_iter().enumerate() {
                if insert || keys.is_empty() {
                    let key = slots.insert(number);
                    prop_assert!(model.insert(key, number).is_none());
                    keys.push(key);
                } else {
                    let key = keys[which % keys.len()];
                    prop_assert_eq!(slots.remove(key), model.remove(&key));
                }
                prop_assert_eq!(slots.len(), model.len());
                for key in &keys {
                    prop_assert_eq!(slots.get(*key), model.get(key));
                }
                prop_assert_eq!(slots.keys().count(), model.len());
            }
        }
    }
}
