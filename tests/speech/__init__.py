"""Speech to recognise, and servers that stand for those which are not ours."""
