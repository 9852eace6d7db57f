# At installation: the units, with the programs' place in them, as systemd
# reads it.
cmake_path(ABSOLUTE_PATH CMAKE_INSTALL_PREFIX NORMALIZE OUTPUT_VARIABLE prefix)
cmake_path(ABSOLUTE_PATH bindir BASE_DIRECTORY ${prefix} NORMALIZE)
string(REPLACE "\\" "\\\\" bindir "${bindir}")
string(REPLACE " " "\\x20" bindir "${bindir}")
string(REPLACE "%" "%%" bindir "${bindir}")
foreach(unit frondfs@.service tgshare-agent@.service)
	configure_file(${units_from}/${unit}.in ${units_made}/${unit} @ONLY)
	file(INSTALL ${units_made}/${unit}
		DESTINATION ${prefix}/lib/systemd/user
		PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
endforeach()
