-- clients: undo

DROP TABLE auth.clients;
