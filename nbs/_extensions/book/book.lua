-- What the book adds to Quarto: imports are folded, names of the library link to their reference page,
-- the Colab badge is drawn without a request to another host, README.md gets paths from the top of the repository.

local is_readme = quarto.doc.is_format("gfm")
local is_html = quarto.doc.is_format("html")
local offset = quarto.project.offset or "."

-- Names of functions and classes: name -> page of its module, false where two modules share the name.
local function read_names()
  local pages = {}
  local file = io.open(pandoc.path.join({quarto.project.directory or ".", "..", "cifar_cam", "_modidx.py"}))
  if not file then return pages end
  for module, name in file:read("a"):gmatch("'cifar_cam%.([%w_]+)%.([%w_%.]+)'%s*:") do
    if not name:match("^_") and not name:match("%._") then
      local page = "reference/" .. module .. ".html#" .. name:lower()
      pages[module .. "." .. name] = page
      if pages[name] == nil then pages[name] = page else pages[name] = false end
    end
  end
  file:close()
  return pages
end

local names = is_html and read_names() or {}

-- An ordinary word such as `train` is also a variable in the text, so a bare one is linked only with "()".
-- The `false` keeps Pandoc from walking into the new link and linking its text again, without end.
local function link_name(code)
  if is_html and #code.text <= 20 then code.classes:insert("whole") end
  local text = code.text:gsub("%(%)$", "")
  local page = names[text]
  local sure = text ~= code.text or text:match("[_%.%u]")
  if page and sure then return pandoc.Link(code, offset .. "/" .. page, "", {class = "reference"}), false end
  return code
end

local function plumbing(text)
  local depth = 0
  for line in text:gmatch("[^\n]+") do
    local import = line:match("^import ") or line:match("^from [%w_%.]+ import") or line:match("^%s*#") or depth > 0
    if not import and not line:match("^%s*$") then return false end
    for char in line:gmatch("[()]") do depth = depth + (char == "(" and 1 or -1) end
  end
  return true
end

-- An output of one line is a sentence more often than a table: it may wrap.
local function wrap_line(div)
  if not div.classes:includes("cell-output") then return end
  return div:walk({CodeBlock = function(block)
    if not block.text:match("\n") then block.classes:insert("one-line"); return block end
  end})
end

local function fold_imports(block)
  if not block.classes:includes("cell-code") or block.attributes["code-fold"] then return end
  if plumbing(block.text) then
    block.attributes["code-fold"] = "true"
    block.attributes["code-summary"] = "Imports"
    return block
  end
end

local function drop_empty_cells(div)
  if div.classes:includes("cell") and pandoc.utils.stringify(div) == "" and #div.content <= 1 then
    local block = div.content[1]
    if not block or (block.t == "CodeBlock" and block.text:match("^%s*$")) then return {} end
  end
end

local function is_badge(link)
  local image = link.content[1]
  return #link.content == 1 and image.t == "Image" and image.src:match("colab%-badge%.svg$")
end

local function draw_badge(link)
  if is_html and is_badge(link) then
    link.content = {pandoc.Str("Open in Colab")}
    link.classes:insert("colab")
    return link
  end
end

-- Alone in its paragraph the badge counts as a figure with a caption; it is neither.
local function unframe_badge(figure)
  local badge
  figure:walk({Link = function(link) if is_badge(link) then badge = link end end})
  return badge and pandoc.Para({badge})
end

-- A picture whose caption says what it shows needs no second description.
local function describe(figure)
  local caption = pandoc.utils.stringify(figure.caption.long)
  return figure:walk({Image = function(image)
    if caption ~= "" and not image.attributes["fig-alt"] then image.attributes["fig-alt"] = caption end
    return image
  end})
end

local function from_the_top(path)
  if path:match("^%a+:") or path:match("^[#/]") then return path end
  return "nbs/" .. path
end

if is_readme then
  return {{
    Image = function(image) image.src = from_the_top(image.src); return image end,
    Link = function(link) link.target = from_the_top(link.target); return link end,
    Pandoc = function(doc)
      local about = doc.meta.description
      if about then doc.blocks:insert(1, pandoc.BlockQuote({pandoc.Para(pandoc.utils.stringify(about))})) end
      return doc
    end,
  }}
end

return {
  {Div = function(div) return drop_empty_cells(div) or wrap_line(div) end, CodeBlock = fold_imports, Figure = function(figure) return unframe_badge(figure) or describe(figure) end},
  {Link = draw_badge},
  {traverse = "topdown", Code = link_name,
   Link = function(link) return link, false end, Header = function(header) return header, false end},
}
