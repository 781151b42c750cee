use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::{Key, Slab};

/// A key finds only the entry it was made for, also when its place is taken by another.
#[test]
fn keys_do_not_outlive_their_entries() {
    assert_eq!(size_of::<Key>(), 8);
    let mut slab = Slab::new();
    let first = slab.insert('a');
    assert_eq!(slab.remove(first), Some('a'));
    let second = slab.insert('b');
    assert_eq!(second.index, first.index);
    assert_eq!((slab.get(first), slab.get(second)), (None, Some(&'b')));
    assert_eq!(slab.remove(first), None);
    assert_eq!(Key::from_u64(second.to_u64()), second);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any inserting and removing leaves what a map would hold; a key once removed never finds anything again.
    #[test]
    fn it_does_what_a_map_does(ops in prop::collection::vec((0..10u8, any::<prop::sample::Index>()), 0..1500)) {
        let mut slab = Slab::new();
        let mut model = BTreeMap::new();
        let mut gone = Vec::new();
        for (number, (op, which)) in ops.into_iter().enumerate() {
            if op < 6 {
                let expected = slab.next_key();
                let key = slab.insert(number);
                prop_assert_eq!(key, expected);
                prop_assert_eq!(model.insert(key, number), None);
            } else if !model.is_empty() {
                let key = *model.keys().nth(which.index(model.len())).expect("less than its length");
                prop_assert_eq!(slab.get_mut(key).copied(), model.get(&key).copied());
                prop_assert_eq!(slab.key_at(key.index), Some(key));
                prop_assert_eq!(slab.remove(key), model.remove(&key));
                prop_assert_eq!(slab.key_at(key.index), None);
                gone.push(key);
            }
            prop_assert_eq!(slab.len(), model.len());
        }
        prop_assert!(slab.iter().map(|(key, value)| (key, *value)).eq(model.iter().map(|(k, v)| (*k, *v))));
        prop_assert_eq!(slab.iter_mut().count(), model.len());
        for key in gone {
            prop_assert!(slab.get(key).is_none() && !slab.contains(key) && slab.remove(key).is_none());
        }
    }
}

/// An entry costs its size and eight bytes, at any count; vacated places are used again.
#[test]
fn entries_cost_little_more_than_their_size() {
    let mut slab = Slab::new();
    assert_eq!(slab.memory(), 0);
    let keys: Vec<Key> = (0..100_000).map(|_| slab.insert([0u64; 16])).collect();
    let full = slab.memory();
    assert!(full <= 100_000 * (128 + 8) + 64 * 1024, "{full}");
    for key in keys {
        assert!(slab.remove(key).is_some());
    }
    for _ in 0..100_000 {
        slab.insert([1; 16]);
    }
    assert_eq!(slab.memory(), full);
}
