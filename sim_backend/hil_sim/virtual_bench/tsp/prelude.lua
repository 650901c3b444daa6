-- What the firmware adds to Lua: objects whose attributes go through metatables with Getters,
-- Setters and Objects, number formatting by `print`, and reading buffers that index like tables.
local host = ...
local ids = setmetatable({}, { __mode = "k" })

local function wrapped(call)
  return function(...) return call(...) end
end

local function object(getters, setters, objects, luatype, id, fetch)
  local own = {}
  local mt = { Getters = {}, Setters = {}, Objects = objects, luatype = luatype }
  for name, call in pairs(getters) do mt.Getters[name] = wrapped(call) end
  for name, call in pairs(setters) do mt.Setters[name] = wrapped(call) end
  for name, value in pairs(objects) do
    if type(value) == "userdata" then objects[name] = wrapped(value) end
  end
  mt.__index = function(_, key)
    local getter = mt.Getters[key]
    if getter then return getter() end
    local value = objects[key]
    if value == nil and fetch and type(key) == "number" then return fetch(key) end
    return value
  end
  mt.__newindex = function(_, key, value)
    local setter = mt.Setters[key]
    if setter then
      setter(value)
    elseif fetch and type(key) == "number" then
      error("cannot assign to a reading", 2)
    else
      error("attribute '" .. tostring(key) .. "' cannot be set", 2)
    end
  end
  setmetatable(own, mt)
  if id then ids[own] = id end
  return own
end

local digits = "%.5e"
local function shown(value)
  if type(value) == "number" then return string.format(digits, value) end
  return tostring(value)
end

function print(...)
  local n = select("#", ...)
  local out = {}
  for i = 1, n do out[i] = shown((select(i, ...))) end
  host.emit(table.concat(out, "\t"))
end

function printnumber(...)
  host.printnumber({ n = select("#", ...), ... })
end

function printbuffer(first, last, ...)
  local found = {}
  for i = 1, select("#", ...) do
    local id = ids[(select(i, ...))]
    if not id then error("argument " .. (i + 2) .. " of printbuffer is no reading buffer", 2) end
    found[i] = id
  end
  host.printbuffer(first, last, found)
end

local function script(name, chunk, source)
  local own = { name = name, source = source }
  own.run = function() return chunk() end
  own.save = function() end
  own.list = function() print(source) end
  return setmetatable(own, { __call = function() return chunk() end, luatype = "script" })
end

return {
  object = object,
  wrapped = wrapped,
  script = script,
  id = function(value) return ids[value] end,
  digits = function(format) digits = format end,
  load = loadstring,
}
