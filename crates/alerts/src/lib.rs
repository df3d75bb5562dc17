//! What a person must know of: rules, the life of an alert, and the channels that tell it.
