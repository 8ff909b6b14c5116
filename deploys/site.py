"""Everything, in order. Each runs by itself: pyinfra inventory/prod.py deploys/nginx.py --limit podcast"""

from pyinfra import local

local.include("deploys/base.py")
local.include("deploys/firewall.py")
local.include("deploys/mongodb.py")
local.include("deploys/nginx.py")
local.include("deploys/tls.py")
local.include("deploys/uwsgi.py")
local.include("deploys/webapp.py")
local.include("deploys/names.py")
local.include("deploys/members.py")
