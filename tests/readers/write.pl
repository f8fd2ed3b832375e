# Write a folder as Perl's Archive::Tar does: perl write.pl FOLDER OUT
use strict;
use warnings;
use Archive::Tar;
use File::Find;

my ($folder, $out) = @ARGV;
chdir $folder or die "$folder: $!";
my @names;
find({ wanted => sub { push @names, $File::Find::name }, no_chdir => 1 }, '.');
my $tar = Archive::Tar->new;
$tar->add_files(sort @names) or die $tar->error;
$tar->write($out) or die $tar->error;
