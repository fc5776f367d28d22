"""Speech engines that run on the worker's own machine: Whisper and Vosk listen, Piper speaks.

Each is a class of LiveKit Agents. What they need is an extra of its own: `voxplane[whisper]`, `[vosk]`, `[piper]`.
"""
