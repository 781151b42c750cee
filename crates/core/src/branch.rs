//! Which way a branch goes for nearly every segment. What goes the other way is laid behind all that does not, so that the
//! usual way lies close together: it is so long that it has to share the processor's first memory for instructions with care.
//! As Linux's `likely` and `unlikely` this says nothing of what is right, and nothing changes but the place of the code.

/// The block in which this stands lies apart.
#[cold]
#[inline]
pub(crate) const fn cold() {}

/// What follows from `condition` lies apart.
#[inline(always)]
pub(crate) const fn unlikely(condition: bool) -> bool {
    if condition {
        cold();
    }
    condition
}
