use super::TxBuf;

/// An idle connection's send buffer is small and holds no heap.
#[test]
fn an_empty_buffer_is_small() {
    assert!(size_of::<TxBuf>() <= 48);
    let mut buf = TxBuf::new();
    assert_eq!(buf.memory(), 0);
    buf.write(&[1; 100_000]);
    assert!(buf.memory() >= 100_000);
    buf.advance(100_000);
    assert_eq!((buf.len(), buf.memory()), (0, 0));
}
