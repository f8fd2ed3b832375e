# Write a folder as Ruby's Gem::Package::TarWriter does: ruby write.rb FOLDER OUT
# It has one time for all, $SOURCE_DATE_EPOCH, no owners and no hard links.
require "find"
require "rubygems/package"

folder, out = ARGV
File.open(out, "wb") do |file|
  Gem::Package::TarWriter.new(file) do |tar|
    Dir.chdir(folder) do
      Find.find(".").sort.each do |name|
        found = File.lstat(name)
        path = name.delete_prefix("./")
        if found.symlink?
          tar.add_symlink(path, File.readlink(name), 0o777)
        elsif found.directory?
          tar.mkdir(path, found.mode & 0o7777)
        else
          tar.add_file(path, found.mode & 0o7777) { |entry| entry.write(File.binread(name)) }
        end
      end
    end
  end
end
