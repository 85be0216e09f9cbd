-- Part of HAProxy: takes clients away from API servers that are ill. By itself HAProxy sends new connections to another
-- server, but leaves open ones where they are; a kubelet has one connection, and would wait on it until its node is lost.
--
-- Ill is a server that HAProxy's checks have found down for a second, since it does not answer or since its etcd does
-- not, while another is well: with nothing better, nobody is moved.
-- Not one that refuses connections: that process has gone, or stops and still answers what it has begun. And not one
-- that says that it stops: for HAProxy it is not down then, but gets no new connections.

local BACKEND, FOLLOWER = "apiservers", "apiservers-vip"
local PORT = 7444
local LOOK = 250            -- milliseconds
local PATIENCE = 3          -- looks

local down = {}             -- server -> looks in a row in which it was down
local ill = {}              -- what the last look found

local function judged()
  local found, better = {}, false
  for name, server in pairs(core.backends[BACKEND].servers) do
    local stats = server:get_stats()
    local check = stats["check_status"] or ""
    better = better or stats["status"] == "UP"
    if stats["status"] ~= "DOWN" or check:find("L4CON") then
      down[name] = 0
    else
      down[name] = (down[name] or 0) + 1
      if down[name] > PATIENCE then
        found[#found + 1] = name
      end
    end
  end
  return better and found or {}
end

-- After a reload the old process keeps its connections, and checks nobody any more: the new one tells it.
local function told()
  local socket = core.tcp()
  socket:settimeout(1)
  local found = {}
  if socket:connect("127.0.0.1", PORT) and socket:send("GET /ill HTTP/1.0\r\n\r\n") then
    local answer = socket:receive("*a") or ""
    for name in (answer:match("\r\n\r\n(.*)") or ""):gmatch("%S+") do
      found[#found + 1] = name
    end
  end
  socket:close()
  return found
end

local function leave(name)
  for _, backend in ipairs({BACKEND, FOLLOWER}) do
    local server = core.backends[backend] and core.backends[backend].servers[name]
    local open = server and server:get_stats()["scur"] or 0
    if open > 0 then
      core.log(core.notice, "Server " .. backend .. "/" .. name .. " is ill: ends " .. open .. " sessions")
      server:shut_sess()
    end
  end
end

core.register_task(function()
  while true do
    core.msleep(LOOK)
    ill = core.get_info()["Stopping"] ~= 0 and told() or judged()
    for _, name in ipairs(ill) do
      leave(name)
    end
  end
end)

core.register_service("ill", "http", function(applet)
  local text = table.concat(ill, "\n")
  applet:set_status(200)
  applet:add_header("content-length", #text)
  applet:start_response()
  applet:send(text)
end)
