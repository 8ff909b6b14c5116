"""NGINX takes a new configuration, and keeps it only if every site that answered before answers still.

    smallfleet-nginx-swap SITES    SITES as JSON: [{"domain", "aliases", "paths", "health", "directories"}]

What is new lies in /etc/nginx/candidate. It is tried by `nginx -t`; the sites are asked; a second NGINX is
started with it where no visitor comes, and asked the same. Then it takes the place of what is there; NGINX
reloads, which has happened when its workers are new; the sites are asked again. If NGINX or a site does not
go along, what was there before is put back and NGINX reloads that. Status 1 then.

`health` must give 200 as before, `paths` no error; of each of `directories` {URL prefix: directory} one file
that is there is asked for. Python's standard library only; Python 3.10+; as root on the droplet. These
modules go onto a droplet joined into one file (`programs.text`).
"""
