"""`git clone` and `git fetch` of every repo whose commits we hold: git's smart HTTP protocol, to read only.

Nothing of git lies on our disks. Commits, trees and blobs are made from rows and the blob store when they are asked
for, with the ids that git gives them:

    commits.py   the commit object of a row: the true one, or where nobody knows it one of our own
    history.py   the commits of a repo as a graph; which of them an answer must hold
    asking.py    what a client asked for, read with limits (protocol versions 0 and 2)
    packing.py   the plan of a pack in a spool file, and the pack, one object at a time
    answering.py what is answered, packet by packet
    views.py     the doors

dulwich has the formats of packets and packs. Objects are never compared with each other (no deltas), so a pack is
larger than git would make it, and costs no more memory than the list of the ids in it.
"""
