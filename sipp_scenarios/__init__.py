"""Alice and Bob: SIPp scenarios, and the program that makes a phone of SIPp."""
