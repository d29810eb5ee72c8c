"""Sessions that were not recorded here: made from a media file, or unpacked from an archive that anybody may have sent."""
