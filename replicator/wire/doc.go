// Package wire converts between the words of the engine and the messages of
// the contract in proto/mailtwin/v1, and holds the limits that both sides keep.
//
// Nothing that comes from a peer is believed: lengths, paths and numbers are
// checked here, so that the rooms behind this one meet only values that are
// possible. What is not is an ErrProtocol, which ends the stream.
package wire
