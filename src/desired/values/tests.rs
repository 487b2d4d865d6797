//! Each word's spellings, good and bad, and that the schema's pattern says the same.
