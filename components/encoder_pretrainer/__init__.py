"""EncoderPretrainer: makes an encoder from the reviews themselves."""
