"""Does a model that learned one person's speech from a teacher's text hear that person better?"""
