//! The form of records: all that a model must know of data, and all of it public.

/// What one record is, and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// The shape of one record.
    pub shape: Vec<usize>,
    /// What its values are.
    pub domain: Domain,
    /// What is to be said of it.
    pub target: Target,
}

/// What the values of a record are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// Finite numbers.
    Numbers,
    /// Token ids; a record has the shape `[length]`.
    Tokens {
        /// How many ids there are. The last one is the filler, which stands after the end of a short text and in place of the
        /// token before the first one.
        vocabulary: usize,
    },
}

/// What is to be said of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Its class, of so many.
    Class(usize),
    /// Each of its tokens, from those before it.
    NextToken,
}

impl Form {
    /// Numbers of a shape, to be classified.
    pub fn numbers(shape: &[usize], classes: usize) -> Self {
        Self { shape: shape.to_vec(), domain: Domain::Numbers, target: Target::Class(classes) }
    }

    /// Texts of at most `length` tokens, out of `vocabulary` ids of which the last is the filler.
    pub fn tokens(length: usize, vocabulary: usize, target: Target) -> Self {
        Self { shape: vec![length], domain: Domain::Tokens { vocabulary }, target }
    }

    /// What a model is given of the tokens of some records `(records, length)`: the same for classes, and for next tokens
    /// those one place later, with the filler before the first.
    pub(crate) fn inputs(&self, tokens: &[u32]) -> Vec<u32> {
        let (Domain::Tokens { vocabulary }, Target::NextToken, [length]) = (self.domain, self.target, &self.shape[..])
        else {
            return tokens.to_vec();
        };
        let before = |record: &[u32]| {
            let mut inputs = record.to_vec();
            inputs.rotate_right(1);
            if let Some(first) = inputs.first_mut() {
                *first = vocabulary.saturating_sub(1) as u32;
            }
            inputs
        };
        tokens.chunks(usize::max(*length, 1)).flat_map(before).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_sees_the_tokens_before_the_one_it_is_to_say() {
        let form = Form::tokens(3, 10, Target::NextToken);
        assert_eq!(form.inputs(&[1, 2, 3, 4, 5, 6]), [9, 1, 2, 9, 4, 5]);
        assert_eq!(Form::tokens(3, 10, Target::Class(2)).inputs(&[1, 2, 3]), [1, 2, 3]);
    }
}
