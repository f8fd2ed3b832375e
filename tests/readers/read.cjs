// What node's `tar` and `tar-stream` read in layers: node read.cjs MODULES FILE...
//
// Prints a JSON list, for each file {"tar": [...], "tar-stream": [...]}: entries, or the text of an
// error in their place. Names are as the libraries give them, decoded from UTF-8.
const crypto = require('crypto')
const fs = require('fs')
const { createRequire } = require('module')

const [modules, ...files] = process.argv.slice(2)
const load = createRequire(modules + '/')
const tar = load('tar')
const stream = load('tar-stream')

const KINDS = {
  File: 'file', OldFile: 'file', Link: 'hardlink', SymbolicLink: 'symlink', Directory: 'dir',
  CharacterDevice: 'char', BlockDevice: 'block', FIFO: 'fifo', link: 'hardlink',
  directory: 'dir', 'character-device': 'char', 'block-device': 'block',
}

const kind = (type) => KINDS[type] || type

function withTar(file) {
  return new Promise((resolve, reject) => {
    const found = []
    const data = fs.readFileSync(file)
    if (!data.some((byte) => byte)) return resolve(found) // an archive without entries is an error
    const parser = new tar.Parser({ strict: true })
    parser.on('entry', (entry) => {
      const hash = crypto.createHash('sha256')
      entry.on('data', (data) => hash.update(data))
      entry.on('end', () => found.push({
        name: entry.path, kind: kind(entry.type), mode: entry.mode, uid: entry.uid || 0, gid: entry.gid || 0,
        size: entry.size || 0, mtime: entry.mtime ? entry.mtime.getTime() : 0, link: entry.linkpath, sha256: hash.digest('hex'),
      }))
    })
    parser.on('error', reject)
    parser.on('end', () => resolve(found))
    parser.end(data)
  })
}

function withTarStream(file) {
  return new Promise((resolve, reject) => {
    const found = []
    const extract = stream.extract()
    extract.on('entry', (header, data, next) => {
      const hash = crypto.createHash('sha256')
      const pax = header.pax || {} // the library leaves all but names and size to its user
      data.on('data', (some) => hash.update(some))
      data.on('end', () => {
        found.push({
          name: header.name, kind: kind(header.type), mode: header.mode,
          uid: Number(pax.uid || header.uid), gid: Number(pax.gid || header.gid), size: header.size,
          mtime: pax.mtime ? parseFloat(pax.mtime) * 1000 : header.mtime.getTime(),
          link: header.linkname || '', sha256: hash.digest('hex'),
        })
        next()
      })
    })
    extract.on('error', reject)
    extract.on('finish', () => resolve(found))
    extract.end(fs.readFileSync(file))
  })
}

async function main() {
  const all = []
  for (const file of files) {
    const said = (error) => String(error.message)
    all.push({ tar: await withTar(file).catch(said), 'tar-stream': await withTarStream(file).catch(said) })
  }
  process.stdout.write(JSON.stringify(all))
}

main()
