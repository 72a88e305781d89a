"""EncoderPretrainer: trains an encoder on the reviews."""
