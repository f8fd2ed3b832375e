// Write a folder as node's `tar-stream` does: node write-stream.cjs MODULES FOLDER OUT
const fs = require('fs')
const path = require('path')
const { createRequire } = require('module')

const [modules, folder, out] = process.argv.slice(2)
const pack = createRequire(modules + '/')('tar-stream').pack()
const known = new Map()

function add (name) {
  const place = path.join(folder, name)
  const found = fs.lstatSync(place)
  const header = { name, mode: found.mode & 0o7777, mtime: found.mtime, uid: found.uid, gid: found.gid }
  if (found.isSymbolicLink()) {
    pack.entry({ ...header, type: 'symlink', linkname: fs.readlinkSync(place) })
  } else if (found.isDirectory()) {
    pack.entry({ ...header, type: 'directory' })
    for (const each of fs.readdirSync(place).sort()) add(name === '.' ? each : `${name}/${each}`)
  } else if (known.has(found.ino)) {
    pack.entry({ ...header, type: 'link', linkname: known.get(found.ino) })
  } else {
    known.set(found.ino, name)
    pack.entry(header, fs.readFileSync(place))
  }
}

add('.')
pack.finalize()
pack.pipe(fs.createWriteStream(out))
