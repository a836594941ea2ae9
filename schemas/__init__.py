"""What crosses the wire: the Avro schemas, the typed models generated from them, the codec and the headers."""
