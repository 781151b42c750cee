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
