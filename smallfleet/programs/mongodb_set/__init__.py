"""MongoDB's replica set, as one of its members sees and changes it. Runs on the droplet, with pymongo.

    mongodb_set.py state SET USERS              prints what it is, as JSON (`verbs.state`)
    mongodb_set.py begin SET USERS              begins the set, with this member alone, if that is its to do
    mongodb_set.py begin-with-data SET USERS    … only if it has data, which the others are to get
    mongodb_set.py yield SET USERS              sees that this member may stop; a primary hands over first
    mongodb_set.py ready SET USERS              waits until it does its part again, and has caught up
    mongodb_set.py join SET USERS               waits until all of SET are in; the primary takes them in
    mongodb_set.py leave SET USERS              takes out the members that are not in SET

SET and USERS are files. USERS is that of mongodb_users.py; its first user is the administrator. SET:

    {"name": "smallfleet", "port": 27017, "me": "10.0.0.2:27017", "members": ["10.0.0.2:27017", …],
     "names": {"10.0.0.2:27017": "mongo", …}, "settings": {"electionTimeoutMillis": 3000, …}}

A change of the set is one that a majority of its members agrees to; nothing is ever forced. A new member has
no vote, and cannot become primary, before it has all data. Ends with 1 and a sentence where a step would not
be safe, or is not done in time. These modules go onto a droplet joined into one file (`programs.text`).
"""
